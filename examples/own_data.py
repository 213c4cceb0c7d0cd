"""Data of your own: a folder of images, one sub-folder a class. Here the images are scikit-learn's digits as PNGs."""

import tempfile
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

import fourfold as ff

pictures = Path(tempfile.mkdtemp(), "pictures")
digits = load_digits()
for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    (pictures / str(label)).mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(pictures / str(label) / f"{i}.png")

data = ff.data.load(pictures)  # or a zip of images, an .npz or .npy file; for arrays: ff.data.from_arrays(x, labels)
run = ff.fit(ff.recipes.cvae(latent=8), data, epochs=10)
print(data, ff.evaluation.table(run.evaluate().rows), sep="\n")
