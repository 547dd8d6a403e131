"""Which run's model is the champion."""
