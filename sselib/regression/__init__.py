"""Models of log10(conductivity): estimators, protocols, intervals, explanations, the saved models."""
