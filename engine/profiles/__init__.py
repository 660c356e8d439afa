"""What may be issued: orders, the profiles that turn them into drafts or refuse them, key checks and lint rules.

An order is what a caller wants, in plain values. A profile turns an order, a proven public key, the issuer, a serial
number and the time into a frozen draft, or refuses with every fault it found. `lint` reads the finished bytes again and
owes nothing to the code that built them.
"""
