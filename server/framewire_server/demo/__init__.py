"""The bundled demo: a small detector and a clip, both made by this project (see training/)."""
