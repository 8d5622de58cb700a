"""How what is sent leaves the network of the platform, where it cannot go out by itself."""
