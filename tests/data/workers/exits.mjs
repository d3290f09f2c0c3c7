// Fails at once, as a program with a bad import does.
console.log('reading the configuration');
console.error('Error: Cannot find module "./missing.js"');
process.exit(3);
