// Writes its port to the file NOTE, and leaves it to whoever wants it.
import fs from 'node:fs';

if (!fs.existsSync(process.env.NOTE)) {
  fs.writeFileSync(`${process.env.NOTE}.new`, process.env.PORT);
  fs.renameSync(`${process.env.NOTE}.new`, process.env.NOTE);
}
setInterval(() => {}, 1000);
