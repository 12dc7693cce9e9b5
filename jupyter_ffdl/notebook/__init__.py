"""The kernel's side: magics, client, and what turns a cell into a training.

A kernel's environment needs nothing for it but the standard library and IPython: no module in
here imports anything else, so that ``pip install --no-deps jupyter-ffdl`` beside a bare ipykernel
works. Everything reaches the server by HTTP; nothing here reads a state directory.
"""
