# Installation: grows with tests/install.
