"""What runs a network on windows: torch, compiled torch, OpenVINO, ONNX Runtime, behind one small interface."""
