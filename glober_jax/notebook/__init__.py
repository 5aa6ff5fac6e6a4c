"""What launch/glober_colab.ipynb calls: the environment its cells run in, and its pictures."""
