"""Pure-numpy deterministic inputs for golden tests (no wsolevaluation code, no cv2)."""

import numpy as np


def score_map(seed, kind):
    r = np.random.RandomState(seed)
    if kind == "noise":
        m = r.rand(224, 224)
    elif kind == "block":
        m = np.kron(r.rand(14, 14), np.ones((16, 16)))
    elif kind == "blob":
        y, x = np.mgrid[:224, :224].astype(float)
        cy, cx, s = r.uniform(60, 160), r.uniform(60, 160), r.uniform(25, 60)
        m = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s * s)) + 0.2 * np.kron(r.rand(28, 28), np.ones((8, 8)))
    elif kind == "ring":
        y, x = np.mgrid[:224, :224].astype(float)
        d = np.hypot(y - 112, x - 112)
        m = np.exp(-((d - 60) ** 2) / (2 * 12.0**2)) + 0.05 * r.rand(224, 224)
    m = m - m.min()
    return (m / m.max()).astype(np.float64)


def box_dataset(n=40):
    """ids, sizes (w,h), boxes per id, maps"""
    r = np.random.RandomState(123)
    out = []
    for i in range(n):
        w, h = int(r.randint(150, 700)), int(r.randint(150, 700))
        bs = []
        for _ in range(1 + i % 3):
            x0, y0 = int(r.randint(0, w // 2)), int(r.randint(0, h // 2))
            x1, y1 = int(r.randint(x0 + w // 8, w)), int(r.randint(y0 + h // 8, h))
            bs.append((x0, y0, x1, y1))
        b = bs[0]
        cy = (b[1] + b[3]) / 2 * 224 / h + r.uniform(-45, 45)
        cx = (b[0] + b[2]) / 2 * 224 / w + r.uniform(-45, 45)
        sy = max((b[3] - b[1]) * 224 / h / 4 * r.uniform(0.3, 1.8), 3)
        sx = max((b[2] - b[0]) * 224 / w / 4 * r.uniform(0.3, 1.8), 3)
        y, x = np.mgrid[:224, :224].astype(float)
        m = (
            np.exp(-((y - cy) ** 2 / (2 * sy * sy) + (x - cx) ** 2 / (2 * sx * sx)))
            + 0.8 * np.exp(-((y - r.uniform(20, 200)) ** 2 + (x - r.uniform(20, 200)) ** 2) / (2 * 20.0**2))
            + 0.35 * np.kron(r.rand(14, 14), np.ones((16, 16)))
        )
        m -= m.min()
        m /= m.max()
        out.append((f"img{i:03d}.jpg", (w, h), bs, m))
    return out


def mask_dataset(n=8):
    """id, list of instance masks (uint8 0/255), ignore mask (uint8), map

    masks are 224x224 so resize is the identity"""
    r = np.random.RandomState(7)
    out = []
    y, x = np.mgrid[:224, :224].astype(float)
    for i in range(n):
        cy, cx, s = r.uniform(70, 150), r.uniform(70, 150), r.uniform(20, 45)
        m1 = ((np.hypot(y - cy, x - cx) < s) * 255).astype(np.uint8)
        m2 = (((abs(y - 60 - 10 * i) < 12) & (abs(x - 180) < 20)) * 255).astype(np.uint8)
        ig = np.zeros((224, 224), np.uint8)
        ig[150:220, 10 + 5 * i : 90 + 5 * i] = 255
        ig[:, :8] = 255
        sm = np.exp(-((y - cy - 8) ** 2 + (x - cx + 6) ** 2) / (2 * (s * 1.1) ** 2)) + 0.3 * np.kron(
            r.rand(14, 14), np.ones((16, 16))
        )
        sm -= sm.min()
        sm /= sm.max()
        out.append((f"m{i}.jpg", [m1, m2] if i % 2 else [m1], ig, sm))
    return out
