"""``python -m layerscope`` is ``layerscope``."""

from layerscope.cli import main

if __name__ == "__main__":
    main()
