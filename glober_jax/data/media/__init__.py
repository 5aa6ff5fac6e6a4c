"""Video files and image folders: finding, decoding and captioning them."""
