"""TotalSpineSeg: two networks, and what is worked out from their classes in between and after."""
