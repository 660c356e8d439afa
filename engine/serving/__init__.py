"""The processes that serve: the supervisor in front, the worker behind the socket, what they do beside requests."""
