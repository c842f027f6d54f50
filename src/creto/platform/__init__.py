"""The ground the products stand on: crypto, identities, consensus time, audit."""
