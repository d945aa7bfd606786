"""Language models on short texts: prompts, answers, encoders, causal models, controls, memory."""
