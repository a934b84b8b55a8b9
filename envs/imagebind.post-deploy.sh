#!/bin/bash
# Snakemake runs this after it has made the environment of imagebind.yaml.
set -euo pipefail
pip install --no-deps "imagebind @ git+https://github.com/facebookresearch/ImageBind"
