"""What every model here needs of torch and of the device, whichever model it is."""
