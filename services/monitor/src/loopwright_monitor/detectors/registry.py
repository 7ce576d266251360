"""Every detector there is, under the name by which its state is stored (16 characters at most)."""

from loopwright_monitor.detectors.adwin_losses import AdwinLossDetector
from loopwright_monitor.detectors.base import Detector
from loopwright_monitor.detectors.e_detector import EDetector

DETECTORS: dict[str, Detector] = {
    "inputs": EDetector("inputs", {"data": "data", "quality": "quality"}),
    "score": EDetector("score", {"data": "prediction"}),
    "losses": AdwinLossDetector(),
}
