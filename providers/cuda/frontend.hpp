// The parts of cudnn-frontend that are used, in the order in which they need each other.
#pragma once

#include <cudnn.h>
// After cuDNN's own.
#include <cudnn_frontend_ConvDesc.h>
#include <cudnn_frontend_PointWiseDesc.h>
#include <cudnn_frontend_Tensor.h>
// After the descriptors.
#include <cudnn_frontend_Operation.h>
// After the operations.
#include <cudnn_frontend_EngineConfig.h>
#include <cudnn_frontend_ExecutionPlan.h>
#include <cudnn_frontend_Filters.h>
#include <cudnn_frontend_Heuristics.h>
#include <cudnn_frontend_OperationGraph.h>
