"""From intent to fill: orders, their lifecycle table, the OMS, sessions, the simulator and recovery.

Import only with `from exec.x import Y`: a plain `import exec` would hide the builtin of that name.
"""
