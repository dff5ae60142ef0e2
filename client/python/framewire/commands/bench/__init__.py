"""`framewire bench`: how many cameras a server carries, and how old its results are."""
