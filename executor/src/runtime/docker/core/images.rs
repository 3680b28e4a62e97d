//! Which images are there, and which are on their way.

use std::collections::BTreeMap;

use marmoset_executor_core::Now;
use marmoset_proto::marmoset::v1::Pull;

use super::{Act, Core, Phase, failure};
use crate::runtime::docker::engine::EngineError;

#[derive(Debug, Default)]
pub(super) struct Images(BTreeMap<(String, i32), Image>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    /// To be asked for when the engine is there.
    Wanted,
    Asked,
    There,
}

impl Images {
    /// Whether the image has to be waited for; then it is asked for.
    pub(super) fn wants(&mut self, name: &str, pull: Pull) -> bool {
        let image = self.0.entry((name.to_owned(), pull.into())).or_insert(Image::Wanted);
        *image != Image::There
    }

    fn set(&mut self, name: &str, pull: Pull, image: Option<Image>) {
        let key = (name.to_owned(), pull.into());
        match image {
            Some(image) => _ = self.0.insert(key, image),
            None => _ = self.0.remove(&key),
        }
    }

    /// Those to ask for now.
    pub(super) fn ask(&mut self) -> Vec<(String, Pull)> {
        let mut asked = Vec::new();
        for ((name, pull), image) in &mut self.0 {
            if *image == Image::Wanted
                && let Ok(pull) = Pull::try_from(*pull)
            {
                *image = Image::Asked;
                asked.push((name.clone(), pull));
            }
        }
        asked
    }
}

impl Core {
    pub(super) fn handle_image(
        &mut self,
        now: Now,
        name: &str,
        pull: Pull,
        result: Result<(), EngineError>,
    ) {
        let waiting = self
            .containers
            .iter()
            .filter(|(_, container)| {
                container.phase == Phase::Imaging
                    && container.launch.image == name
                    && container.launch.pull == pull
            })
            .map(|(run, _)| *run)
            .collect::<Vec<_>>();
        match result {
            Ok(()) => {
                // Whoever asks for ALWAYS later means a pull of its own.
                let image = match pull {
                    Pull::Always => None,
                    Pull::IfNotPresent | Pull::Never => Some(Image::There),
                };
                self.images.set(name, pull, image);
                for run in waiting {
                    self.set_phase(run, Phase::Waiting);
                    self.waiting.push_back(run);
                }
            }
            Err(error) if error.is_answer() => {
                self.images.set(name, pull, None);
                for run in waiting {
                    self.refuse(run, failure(&error));
                }
            }
            Err(error) => {
                self.images.set(name, pull, (!waiting.is_empty()).then_some(Image::Wanted));
                self.away(now, &error);
            }
        }
    }

    /// The engine has lost an image that was there.
    pub(super) fn image_vanished(&mut self, name: &str, pull: Pull) {
        self.images.set(name, pull, Some(Image::Wanted));
    }

    pub(super) fn ask_images(&mut self) {
        for (name, pull) in self.images.ask() {
            self.acts.push_back(Act::Image(name, pull));
        }
    }
}
