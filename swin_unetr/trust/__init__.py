"""How sure a result is: signals of a case, what they were worth on cases the model had not seen, and a decision."""
