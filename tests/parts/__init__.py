"""Projects' releases on loopback, made of what is built here, for labs that compile none of it."""
