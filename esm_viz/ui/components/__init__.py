"""Parts that all tabs use: HTML snippets, checks of the browser's messages, private functions of Gradio."""
