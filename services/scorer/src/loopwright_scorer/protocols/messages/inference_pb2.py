"""The messages of inference.proto, in a descriptor pool of their own.

Every client of the protocol brings messages of the same names, and the process-wide pool takes
each name once: in there, whoever is imported second would fail.
"""

from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_POOL = DescriptorPool()
_COMPILED = files(__package__).joinpath("inference.binpb").read_bytes()
for _file in FileDescriptorSet.FromString(_COMPILED).file:
    _POOL.Add(_file)
DESCRIPTOR = _POOL.FindFileByName("inference.proto")
globals().update(
    {name: GetMessageClass(found) for name, found in DESCRIPTOR.message_types_by_name.items()}
)
