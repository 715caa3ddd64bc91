"""What pyproject.toml cannot say: the folder assets/, at the top level here, becomes esm_viz/assets when installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["esm_viz", "esm_viz.*"]), "esm_viz.assets"],
    package_dir={"esm_viz.assets": "assets"},
    package_data={"esm_viz.assets": ["**/*"]},
)
