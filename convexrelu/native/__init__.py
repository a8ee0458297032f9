"""The package's own solver of finite programs over neurons: a Newton method that lets neurons slide between cells."""
