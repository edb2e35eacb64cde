"""Former addresses of modules, found as `reactive_demo.NAME` because this folder is on the path."""
