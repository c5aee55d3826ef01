"""Networks: backbones, fusion, bundles, inference engines. Never opens a video."""
