"""The JSON of every request, and what it becomes. The only place, with `render`, where camelCase is found.

A member that is not described is refused; a member that may be absent may also be null, as some clients send it.
Each model's method gives the plain value the rooms below understand; nothing but the shape is decided here.
"""
