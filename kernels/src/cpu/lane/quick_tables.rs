//! Constants of the shorter way to exp. Written by `tools/fit/fit.py`; do not edit.
//! Every literal is the shortest decimal that reads back as the intended binary64 number.
#![allow(clippy::approx_constant, clippy::excessive_precision)]
#![cfg_attr(rustfmt, rustfmt_skip)]

/// 2^(j/16) with j * 2^19 taken from its bits, so that adding k * 2^19, k = 16 n + j, gives 2^(k/16).
pub(super) static EXP_HIGH: [f32; 16] = [
    1.0,
    0.9908868670463562,
    0.9827538728713989,
    0.9756442904472351,
    0.9696035385131836,
    0.9646788835525513,
    0.9609197974205017,
    0.9583777785301208,
    0.9571067690849304,
    0.9571630954742432,
    0.9586054086685181,
    0.9614951610565186,
    0.9658964276313782,
    0.9718760848045349,
    0.9795040488243103,
    0.9888532757759094,
];
/// What 2^(j/16) lacks, relative to it.
pub(super) static EXP_REST: [f32; 16] = [
    0.0,
    4.6285471455576044e-08,
    -1.199215748926008e-08,
    4.7297824323777604e-08,
    3.1934181521364735e-08,
    3.621057231839586e-08,
    -3.0990719324108795e-08,
    -7.475213337215791e-09,
    1.7114270889351246e-08,
    -3.047683350132502e-08,
    5.233334210430485e-09,
    6.10759176566944e-09,
    -1.4719605090363075e-08,
    -5.258795177098818e-09,
    -6.128259677495862e-09,
    5.140609271592211e-09,
];
