// The names of MIOpen's convolution solvers by their ids, which MIOpen's interface does not tell.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "directions.hpp"

namespace mioconv {

struct SolverName {
    std::uint64_t id;
    const char* name;
};

/// As MIOpen 3.4.0 and 3.5.1 name them themselves; an id keeps its meaning, new ones are added at
/// the end. Where the genuine library runs, a test compares.
inline constexpr SolverName solver_names[] = {
    {1, "ConvAsm3x3U"},
    {2, "ConvAsm1x1U"},
    {3, "ConvAsm1x1UV2"},
    {5, "ConvAsm5x10u2v2f1"},
    {6, "ConvAsm5x10u2v2b1"},
    {7, "ConvAsm7x7c3h224w224k64u2v2p3q3f1"},
    {8, "ConvOclDirectFwd11x11"},
    {9, "ConvOclDirectFwdGen"},
    {11, "ConvOclDirectFwd"},
    {13, "ConvOclDirectFwd1x1"},
    {14, "ConvBinWinograd3x3U"},
    {15, "ConvBinWinogradRxS"},
    {16, "ConvAsmBwdWrW3x3"},
    {17, "ConvAsmBwdWrW1x1"},
    {18, "ConvOclBwdWrW2<1>"},
    {19, "ConvOclBwdWrW2<2>"},
    {20, "ConvOclBwdWrW2<4>"},
    {21, "ConvOclBwdWrW2<8>"},
    {22, "ConvOclBwdWrW2<16>"},
    {23, "ConvOclBwdWrW2NonTunable"},
    {24, "ConvOclBwdWrW53"},
    {25, "ConvOclBwdWrW1x1"},
    {26, "ConvHipImplicitGemmV4R1Fwd"},
    {31, "ConvHipImplicitGemmV4R1WrW"},
    {34, "fft"},
    {35, "ConvWinograd3x3MultipassWrW<3-4>"},
    {37, "ConvBinWinogradRxSf3x2"},
    {38, "ConvWinograd3x3MultipassWrW<3-5>"},
    {39, "ConvWinograd3x3MultipassWrW<3-6>"},
    {40, "ConvWinograd3x3MultipassWrW<3-2>"},
    {41, "ConvWinograd3x3MultipassWrW<3-3>"},
    {42, "ConvWinograd3x3MultipassWrW<7-2>"},
    {43, "ConvWinograd3x3MultipassWrW<7-3>"},
    {44, "ConvWinograd3x3MultipassWrW<7-2-1-1>"},
    {45, "ConvWinograd3x3MultipassWrW<7-3-1-1>"},
    {46, "ConvWinograd3x3MultipassWrW<1-1-7-2>"},
    {47, "ConvWinograd3x3MultipassWrW<1-1-7-3>"},
    {48, "ConvWinograd3x3MultipassWrW<5-3>"},
    {49, "ConvWinograd3x3MultipassWrW<5-4>"},
    {53, "ConvBinWinogradRxSf2x3"},
    {54, "ConvHipImplicitGemmV4R4Fwd"},
    {55, "ConvHipImplicitGemmBwdDataV1R1"},
    {56, "ConvHipImplicitGemmBwdDataV4R1"},
    {57, "ConvHipImplicitGemmBwdDataV1R1Xdlops"},
    {60, "ConvHipImplicitGemmBwdDataV4R1Xdlops"},
    {61, "ConvHipImplicitGemmV4R4WrW"},
    {62, "ConvAsmImplicitGemmV4R1DynamicFwd"},
    {63, "ConvAsmImplicitGemmV4R1DynamicFwd_1x1"},
    {64, "ConvHipImplicitGemmForwardV4R4Xdlops"},
    {65, "ConvAsmImplicitGemmV4R1DynamicBwd"},
    {66, "ConvAsmImplicitGemmV4R1DynamicWrw"},
    {67, "ConvMPBidirectWinograd<2-3>"},
    {68, "ConvMPBidirectWinograd<3-3>"},
    {69, "ConvMPBidirectWinograd<4-3>"},
    {70, "ConvMPBidirectWinograd<5-3>"},
    {71, "ConvMPBidirectWinograd<6-3>"},
    {72, "ConvAsmImplicitGemmGTCDynamicWrwXdlops"},
    {73, "ConvHipImplicitGemmWrwV4R4Xdlops"},
    {74, "ConvAsmImplicitGemmGTCDynamicFwdXdlops"},
    {75, "ConvMPBidirectWinograd_xdlops<2-3>"},
    {76, "ConvMPBidirectWinograd_xdlops<3-3>"},
    {77, "ConvMPBidirectWinograd_xdlops<4-3>"},
    {78, "ConvMPBidirectWinograd_xdlops<5-3>"},
    {79, "ConvMPBidirectWinograd_xdlops<6-3>"},
    {80, "ConvHipImplicitGemmForwardV4R5Xdlops"},
    {81, "ConvHipImplicitGemmForwardV4R4Xdlops_Padded_Gemm"},
    {82, "ConvAsmImplicitGemmGTCDynamicBwdXdlops"},
    {83, "ConvHipImplicitGemmWrwV4R4Xdlops_Padded_Gemm"},
    {84, "ConvBinWinogradRxSf2x3g1"},
    {85, "ConvDirectNaiveConvFwd"},
    {86, "ConvDirectNaiveConvBwd"},
    {87, "ConvDirectNaiveConvWrw"},
    {88, "GemmFwd1x1_0_1"},
    {89, "GemmFwd1x1_0_1_int8"},
    {90, "GemmFwd1x1_0_2"},
    {91, "GemmFwdRest"},
    {95, "GemmBwd1x1_stride2"},
    {96, "GemmBwd1x1_stride1"},
    {97, "GemmBwdRest"},
    {98, "ConvMlirIgemmFwd"},
    {99, "ConvMlirIgemmBwd"},
    {100, "ConvMlirIgemmWrW"},
    {101, "GemmWrw1x1_stride1"},
    {102, "GemmWrwUniversal"},
    {103, "ConvMlirIgemmFwdXdlops"},
    {104, "ConvMlirIgemmBwdXdlops"},
    {105, "ConvMlirIgemmWrWXdlops"},
    {107, "ConvAsmImplicitGemmGTCDynamicFwdXdlopsNHWC"},
    {108, "ConvAsmImplicitGemmGTCDynamicBwdXdlopsNHWC"},
    {110, "ConvAsmImplicitGemmGTCDynamicWrwXdlopsNHWC"},
    {114, "ConvCkIgemmFwdV6r1DlopsNchw"},
    {127, "ConvAsmImplicitGemmGTCDynamicFwdDlopsNCHWC"},
    {128, "ConvHipImplicitGemmFwdXdlops"},
    {129, "ConvHipImplicitGemmBwdXdlops"},
    {137, "ConvHipImplicitGemmGroupFwdXdlops"},
    {138, "ConvHipImplicitGemm3DGroupFwdXdlops"},
    {139, "ConvWinoFuryRxS<2-3>"},
    {140, "ConvHipImplicitGemm3DGroupWrwXdlops"},
    {141, "ConvHipImplicitGemm3DGroupBwdXdlops"},
    {155, "ConvHipImplicitGemmGroupBwdXdlops"},
    {156, "ConvHipImplicitGemmGroupWrwXdlops"},
    {180, "ConvWinoRageRxS<2-3>"},
};

/// Null where the id is of a later release, or of no convolution.
inline const char* solver_name(std::uint64_t id) {
    const auto found = std::lower_bound(
        std::begin(solver_names), std::end(solver_names), id,
        [](const SolverName& row, std::uint64_t wanted) { return row.id < wanted; });
    return found != std::end(solver_names) && found->id == id ? found->name : nullptr;
}

/// The algorithm of a solver that a list does not name, by its name.
inline miopenConvAlgorithm_t solver_algorithm(std::uint64_t id) {
    const char* known = solver_name(id);
    const std::string_view name = known ? known : "";
    if (name.rfind("Gemm", 0) == 0) return miopenConvolutionAlgoGEMM;
    if (name == "fft") return miopenConvolutionAlgoFFT;
    if (name.find("Wino") != name.npos) return miopenConvolutionAlgoWinograd;
    if (name.find("ImplicitGemm") != name.npos || name.find("Igemm") != name.npos)
        return miopenConvolutionAlgoImplicitGEMM;
    return miopenConvolutionAlgoDirect;
}

/// By direction, the solvers that take what no other does: matrix products, then naive loops.
inline constexpr std::uint64_t general_solvers[direction_count][2] = {
    {91, 85}, {97, 86}, {102, 87}};

}  // namespace mioconv
