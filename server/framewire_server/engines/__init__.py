"""What runs networks and prepares their input: two ports, with a real and a fake side each."""
