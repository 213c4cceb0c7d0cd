"""Data of your own: a folder of images, one sub-folder a class.

Here the images are the digits of scikit-learn, written as PNGs.
"""

import tempfile
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

import fourfold as ff

pictures = Path(tempfile.mkdtemp(), "pictures")
digits = load_digits()
for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    file = pictures / str(label) / f"{i}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(file)

# Or a zip of images, an .npz or .npy file; arrays go into ff.data.from_arrays(x, labels).
data = ff.data.load(pictures)
run = ff.fit(ff.recipes.cvae(latent=8), data, epochs=10)
print(data, ff.evaluation.table(run.evaluate().rows), sep="\n")
