"""The page of what was refused lately."""
