"""The environment and the pictures of launch/glober_colab.ipynb."""
