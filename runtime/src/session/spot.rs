//! Single rows of a sequence, their prefix given as rows of keys and values.

use repops::Program;
use repops::exec::HashLevel;
use repops::sequence::reference::RowsError;
use repops::sequence::spot::SpotExecutor;
use repops::sequence::trace::Entry;

use super::{Feed, Session, SessionError};

impl SpotExecutor for Session {
    fn row(
        &self,
        program: &Program,
        tokens: &[u32],
        head: bool,
        prefix: &[&[f32]],
    ) -> Result<(Entry, Option<Vec<f32>>), RowsError> {
        if program.digest() != self.program().digest() || self.level() != HashLevel::Operators {
            return Err(SessionError::Foreign.into());
        }
        let (last, before) =
            tokens.split_last().ok_or(SessionError::Rows { rows: 0, max: super::ROWS_MAX })?;
        let shapes = &self.plan.attention;
        let mut state = self.begin();
        state.reserve(before.len(), shapes, &self.budget, self.pages.as_ref())?;
        for (number, shape) in shapes.iter().enumerate() {
            let Some([keys, values]) = prefix.get(2 * number..2 * number + 2) else {
                return Err(SessionError::Foreign.into());
            };
            let fits = |rows: &[f32], width: usize| rows.len() == before.len() * shape.kv_heads * width;
            if !fits(keys, shape.d) || !fits(values, shape.e) {
                return Err(SessionError::Foreign.into());
            }
            self.pages.append(number, shape, &mut state, before.len(), [keys, values])?;
        }
        state.tokens.extend_from_slice(before);
        let logits_from = if head { before.len() } else { tokens.len() };
        let logits = self.step(&mut [Feed { state: &mut state, tokens: &[*last], logits_from }])?;
        let entry = state.entries.last().copied().ok_or(SessionError::Foreign)?;
        let row = logits.of(0).next().map(<[f32]>::to_vec);
        Ok((entry, row))
    }
}
