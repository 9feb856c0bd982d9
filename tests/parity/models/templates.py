import os
HERE = os.path.dirname(os.path.abspath(__file__))
def source(name):
    path = os.path.join(HERE, "templates", f"{name}.jinja")
    return open(path).read() if os.path.exists(path) else None
