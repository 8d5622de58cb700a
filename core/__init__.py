"""What all rooms share. Nothing in here knows Django REST framework, or a word of the product."""
