"""Every room of the connectors: each folder stands alone and may be lifted out into a package of its own."""
