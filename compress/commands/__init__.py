"""The words of the command line, one file each; `compress.__main__` lists them."""
