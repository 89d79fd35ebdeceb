// The three directions of a convolution as rows of one table. MIOpen has a family of functions for
// each, whose twins have the same type but take x, w and y in different orders; this file is the
// only one that knows which.
#pragma once

#include <array>

#include "error.hpp"

namespace mioconv {

enum class Direction : int { forward = 0, backward_data = 1, backward_weights = 2 };
constexpr int direction_count = 3;

/// The operands by their part in the forward convolution y = conv(x, w), whichever is the result.
enum Operand : int { X = 0, W = 1, Y = 2 };
constexpr int operand_count = 3;

/// Which operand a direction computes.
constexpr Operand result_of(Direction direction) {
    constexpr Operand results[] = {Y, X, W};
    return results[static_cast<int>(direction)];
}

struct Operands {
    std::array<miopenTensorDescriptor_t, operand_count> descriptor{};
    std::array<void*, operand_count> data{};
};

class DirectionCalls {
public:
    DirectionCalls(const Api& api, Direction direction) : direction_(direction) {
        switch (direction) {
            case Direction::forward:
                query_order_ = {W, X, Y};  // (w, x, conv, y)
                find_order_ = {X, W, Y};
// clang-format off
#define MIOCONV_DIRECTION(name)                                  \
    names_ = {"miopenConvolution" #name "GetSolutionCount",      \
              "miopenConvolution" #name "GetSolution",           \
              "miopenConvolution" #name "CompileSolution",       \
              "miopenConvolution" #name "Immediate",             \
              "miopenConvolution" #name "GetWorkSpaceSize",      \
              "miopenFindConvolution" #name "Algorithm",         \
              "miopenConvolution" #name "GetSolutionWorkspaceSize"}; \
    count_ = api.miopenConvolution##name##GetSolutionCount;      \
    get_ = api.miopenConvolution##name##GetSolution;             \
    compile_ = api.miopenConvolution##name##CompileSolution;     \
    run_ = api.miopenConvolution##name##Immediate;               \
    workspace_ = api.miopenConvolution##name##GetWorkSpaceSize;  \
    find_ = api.miopenFindConvolution##name##Algorithm;          \
    solution_workspace_ = api.miopenConvolution##name##GetSolutionWorkspaceSize;
// clang-format on
                MIOCONV_DIRECTION(Forward)
                break;
            case Direction::backward_data:
                query_order_ = find_order_ = {Y, W, X};  // (dy, w, conv, dx)
                MIOCONV_DIRECTION(BackwardData)
                break;
            case Direction::backward_weights:
                query_order_ = find_order_ = {Y, X, W};  // (dy, x, conv, dw)
                MIOCONV_DIRECTION(BackwardWeights)
#undef MIOCONV_DIRECTION
                break;
        }
    }

    Status solution_count(
        miopenHandle_t handle, const Operands& o, miopenConvolutionDescriptor_t conv,
        std::size_t* count) const {
        return {names_[0], count_(handle, first(o), second(o), conv, third(o), count)};
    }
    Status solutions(
        miopenHandle_t handle, const Operands& o, miopenConvolutionDescriptor_t conv,
        std::size_t room, std::size_t* count, miopenConvSolution_t* list) const {
        return {names_[1], get_(handle, first(o), second(o), conv, third(o), room, count, list)};
    }
    Status compile(
        miopenHandle_t handle, const Operands& o, miopenConvolutionDescriptor_t conv,
        std::uint64_t id) const {
        return {names_[2], compile_(handle, first(o), second(o), conv, third(o), id)};
    }
    Status run(
        miopenHandle_t handle, const Operands& o, miopenConvolutionDescriptor_t conv,
        void* workspace, std::size_t bytes, std::uint64_t id) const {
        return {
            names_[3],
            run_(
                handle, first(o), o.data[query_order_[0]], second(o), o.data[query_order_[1]], conv,
                third(o), o.data[query_order_[2]], workspace, bytes, id)};
    }
    Status workspace(
        miopenHandle_t handle, const Operands& o, miopenConvolutionDescriptor_t conv,
        std::size_t* bytes) const {
        return {names_[4], workspace_(handle, first(o), second(o), conv, third(o), bytes)};
    }
    Status find(
        miopenHandle_t handle, const Operands& o, miopenConvolutionDescriptor_t conv, int room,
        int* count, miopenConvAlgoPerf_t* list, void* workspace, std::size_t bytes) const {
        const auto& order = find_order_;
        return {
            names_[5], find_(
                           handle, o.descriptor[order[0]], o.data[order[0]], o.descriptor[order[1]],
                           o.data[order[1]], conv, o.descriptor[order[2]], o.data[order[2]], room,
                           count, list, workspace, bytes, false)};
    }

    /// Bytes that a solution needs; an error where it does not apply to this problem.
    Status solution_workspace(
        miopenHandle_t handle, const Operands& o, miopenConvolutionDescriptor_t conv,
        std::uint64_t id, std::size_t* bytes) const {
        return {
            names_[6], solution_workspace_(handle, first(o), second(o), conv, third(o), id, bytes)};
    }

    Direction direction() const { return direction_; }

private:
    miopenTensorDescriptor_t first(const Operands& o) const {
        return o.descriptor[query_order_[0]];
    }
    miopenTensorDescriptor_t second(const Operands& o) const {
        return o.descriptor[query_order_[1]];
    }
    miopenTensorDescriptor_t third(const Operands& o) const {
        return o.descriptor[query_order_[2]];
    }

    Direction direction_;
    std::array<Operand, operand_count> query_order_{}, find_order_{};
    std::array<const char*, 7> names_{};
    decltype(Api::miopenConvolutionForwardGetSolutionCount) count_{};
    decltype(Api::miopenConvolutionForwardGetSolution) get_{};
    decltype(Api::miopenConvolutionForwardCompileSolution) compile_{};
    decltype(Api::miopenConvolutionForwardImmediate) run_{};
    decltype(Api::miopenConvolutionForwardGetWorkSpaceSize) workspace_{};
    decltype(Api::miopenFindConvolutionForwardAlgorithm) find_{};
    decltype(Api::miopenConvolutionForwardGetSolutionWorkspaceSize) solution_workspace_{};
};

}  // namespace mioconv
