#!/bin/bash
# `snakemake --sdm conda` runs this after it has made the environment of imagebind.yaml.
# The authors publish no releases, so a commit is installed: one that several public evaluation kits
# pin. It never ran where Concord was written; another packaging of the same code did
# (imagebind-packaged 0.1.2). `concord parity imagebind` says how it does on your machine, and
# IMAGEBIND_REVISION names another commit, tag or branch.
set -euo pipefail
revision="${IMAGEBIND_REVISION:-53680b02d7e37b19b124fa37bae4b6c98c38f5be}"
pip install --no-deps "imagebind @ git+https://github.com/facebookresearch/ImageBind@${revision}"
