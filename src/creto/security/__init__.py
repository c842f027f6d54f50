"""What guards content and decides access: authorization, agent memory, encrypted objects."""
