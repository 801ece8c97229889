//! Regions, interpreted tile by tile.
