"""What item-to-item linear models share: the Gram matrix."""
