"""Models of other libraries as arrays of a two-layer ReLU network, and back; importing this imports none of them."""
