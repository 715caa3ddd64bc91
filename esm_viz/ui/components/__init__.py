"""What every tab is made of: HTML pieces, Gradio blocks, messages and the definition of a tab."""
