"""Operators whose cost follows from the shapes of what they take: a list of what is known to be so.

An operator is added here once that holds for every value of its inputs, with the inputs that say
how large its output is. What is not here is not known to be bounded.
"""

from collections.abc import Mapping

_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr
    BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh DequantizeLinear Div Elu Equal Erf Exp Floor
    Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round
    Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu
    Where Xor
"""
_NORMALIZING = """
    BatchNormalization DynamicQuantizeLinear GroupNormalization Hardmax InstanceNormalization
    LayerNormalization LogSoftmax LpNormalization LRN MeanVarianceNormalization RMSNormalization
    Softmax
"""
_PRODUCTS = """
    AveragePool Conv ConvInteger ConvTranspose Det Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
    LpPool MatMul MatMulInteger MaxPool QLinearConv QLinearMatMul
"""
_MOVING = """
    ArgMax ArgMin Concat Constant DepthToSpace EyeLike Flatten Gather GatherElements GatherND
    ReverseSequence ScatterElements ScatterND Shape Size SpaceToDepth Transpose
"""
_OF_CLASSIC_MODELS = """
    ArrayFeatureExtractor Binarizer Imputer LabelEncoder LinearClassifier LinearRegressor Normalizer
    OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsembleClassifier TreeEnsembleRegressor
"""
_REDUCING = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare
"""

_SIZED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(_REDUCING.split(), (1,)),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (4,),
    "LSTM": (4,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "RNN": (4,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""The inputs that say how large the output is, or how long the work: none of them may be data."""

_PLAIN = f"{_ELEMENTWISE}{_NORMALIZING}{_PRODUCTS}{_MOVING}"
BOUNDED: Mapping[tuple[str, str], tuple[int, ...]] = {
    **{("", name): () for name in _PLAIN.split()},
    **{("", name): inputs for name, inputs in _SIZED.items()},
    **{("ai.onnx.ml", name): () for name in _OF_CLASSIC_MODELS.split()},
    # As many turns as there are slices of what it scans; its body is looked at as the graph is.
    ("", "Scan"): (),
}
"""By domain and name: the inputs that must not be taken from data."""
OF_SHAPES = frozenset({"Shape", "Size"})
"""What they answer follows from shapes, whatever the values are."""
