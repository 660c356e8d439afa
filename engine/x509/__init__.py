"""Pure ASN.1: octets in, octets out; knows no token, no policy and no HTTP."""
